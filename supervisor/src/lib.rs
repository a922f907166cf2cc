//! What keeps it alive: the supervision tree.
