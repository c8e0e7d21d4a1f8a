/// Says why a passkey was not registered or did not log in.
///
/// The numbers are steps of WebAuthn Level 3, [§7.1](https://www.w3.org/TR/webauthn-3/#sctn-registering-a-new-credential) for
/// registration and [§7.2](https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion) for authentication. For logs and for who
/// registers; who logs in is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyReject {
    /// Not the JSON, base64url or CBOR that it should be, too long, or with something left over (7.1: 3–6, 13; 7.2: 3, 7–9).
    #[error("the response is malformed")]
    Malformed,
    /// The ceremony was not begun here, by this browser, for this account, or too long ago.
    #[error("the ceremony is not this browser's, or too old")]
    Ceremony,
    /// The answer is to the other kind of ceremony (7.1: 7; 7.2: 10).
    #[error("the response is of another kind of ceremony")]
    CeremonyType,
    /// The account has used too many challenges lately.
    #[error("the account has used too many challenges lately")]
    TooManyChallenges,
    /// It is another challenge (7.1: 8; 7.2: 11).
    #[error("the challenge is another")]
    Challenge,
    /// The challenge was answered before.
    #[error("the challenge was used before")]
    ChallengeUsed,
    /// The page has an origin that is not in the list (7.1: 9; 7.2: 12).
    #[error("the origin is not ours")]
    Origin,
    /// The page was in a frame of another site (7.1: 10–11; 7.2: 13–14).
    #[error("the page was framed by another site")]
    CrossOrigin,
    /// The passkey is for another relying party (7.1: 14; 7.2: 15).
    #[error("the passkey is for another relying party")]
    RelyingParty,
    /// Nobody touched the authenticator (7.1: 15; 7.2: 16).
    #[error("no user was present")]
    UserPresence,
    /// The authenticator did not verify the user, and it must (7.1: 16; 7.2: 17).
    #[error("the user was not verified")]
    UserVerification,
    /// Backed up though it cannot be (7.1: 17; 7.2: 18), or its backup eligibility has changed (7.2: 19).
    #[error("the backup flags contradict each other or what is kept")]
    BackupState,
    /// The key is for an algorithm that was not offered (7.1: 20).
    #[error("the algorithm was not offered")]
    Algorithm,
    /// The key is not well formed for its algorithm (7.1: 20, 27).
    #[error("the public key is not well formed")]
    PublicKey,
    /// The credential id is too short, too long (7.1: 25), or not the same everywhere in the response.
    #[error("the credential id is too short, too long or not the same everywhere")]
    CredentialId,
    /// Somebody has a passkey with this credential id (7.1: 26).
    #[error("the credential id is taken")]
    Taken,
    /// The account has as many passkeys as it may have.
    #[error("the account has too many passkeys")]
    TooMany,
    /// Nobody has such a passkey, or not the account that logs in (7.2: 6).
    #[error("there is no such passkey")]
    Unknown,
    /// The user handle is missing or another account's (7.2: 6).
    #[error("the user handle is missing or another account's")]
    UserHandle,
    /// The signature is wrong (7.2: 21).
    #[error("the signature is wrong")]
    Signature,
    /// The signature counter has not grown: there may be a copy of the authenticator (7.2: 22).
    #[error("the signature counter has not grown")]
    Counter,
    /// The label is empty, longer than 64 characters, or has control characters.
    #[error("the label is empty, too long or has control characters")]
    Label,
    /// The account is gone or disabled.
    #[error("the account is gone or disabled")]
    Account,
}
