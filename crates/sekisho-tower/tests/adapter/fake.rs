use sekisho_http::Checkpoint;
pub(crate) use sekisho_testkit::FakeAuthenticator as Fake;

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(Fake).with_public_routes(["/health"]).build().unwrap()
}
