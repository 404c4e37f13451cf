//! YubiHSM2: what PKCS#11 has no words for.
