//! See the module: a played coordinator on an in-memory network.
