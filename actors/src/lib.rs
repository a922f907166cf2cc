//! What an actor is: entities, durable actors, effects and their guard, and the world they live in.
