//! The models that need no key and no server.
