//! Every shape that a provider gives a message.
