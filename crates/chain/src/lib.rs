//! Bitcoin nodes: RPC, following the chain, fees and broadcast.
