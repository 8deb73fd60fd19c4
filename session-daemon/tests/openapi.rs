//! The API's document is what clients are generated from: it changes only when
//! somebody means it to.

#[test]
fn the_document_is_as_it_was() {
    insta::assert_snapshot!(session_daemon::openapi_document());
}
