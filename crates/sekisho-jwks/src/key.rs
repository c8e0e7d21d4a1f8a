//! placeholder until the key types are written
/// Is a parsed public key, or a shared secret, that knows which algorithms it is for.
#[derive(Clone, Debug)]
pub struct VerifyingKey(());
