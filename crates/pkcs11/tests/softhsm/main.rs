//! Everything the provider declares, on real SoftHSM2 tokens in folders of their own.

mod keys;
mod kit;
mod life;
mod seeds;
mod transfers;
