//! Bodies that are compressed on their way.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sekisho_core::{Failure, FailureKind};
use sekisho_http::{HttpRequest, HttpResponse};

/// Compresses the body of a request that is longer than `threshold` bytes.
pub(crate) fn compress(mut request: HttpRequest, threshold: usize) -> Result<HttpRequest, Failure> {
    if request.body.len() <= threshold {
        return Ok(request);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(request.body.len() / 4), Compression::fast());
    let written = encoder.write_all(&request.body).and_then(|()| encoder.finish());
    request.body = written.map_err(|error| {
        Failure::new(FailureKind::Misconfigured, "a question cannot be compressed").with_source(error)
    })?;
    Ok(request.with_header("content-encoding", "gzip"))
}

/// Undoes the compression of an answer that the HTTP client has left as it is. The bound is that of the decoded body.
pub(crate) fn decoded(mut response: HttpResponse, most: usize) -> Result<HttpResponse, Failure> {
    let mut encodings = response.headers.iter().filter(|(name, _)| name == "content-encoding");
    match (encodings.next(), encodings.next()) {
        (None, _) => {}
        (Some((_, encoding)), None) if encoding.eq_ignore_ascii_case("identity") => {}
        (Some((_, encoding)), None) if encoding.eq_ignore_ascii_case("gzip") => {
            let mut body = Vec::new();
            // One more than allowed, to see whether there is more.
            let mut reader = MultiGzDecoder::new(response.body.as_slice()).take(most as u64 + 1);
            reader.read_to_end(&mut body).map_err(|_| NOT_GZIP)?;
            response.body = body;
        }
        _ => return Err(NOT_GZIP),
    }
    response.headers.retain(|(name, _)| name != "content-encoding");
    if response.body.len() > most { Err(TOO_LARGE) } else { Ok(response) }
}

pub(crate) const TOO_LARGE: Failure =
    Failure::new(FailureKind::BadGateway, "the answer of the decision service is larger than allowed");
const NOT_GZIP: Failure =
    Failure::new(FailureKind::BadGateway, "the answer of the decision service is not encoded as it says");

#[cfg(test)]
mod tests {
    use super::*;

    fn response(encoding: Option<&str>, body: Vec<u8>) -> HttpResponse {
        let headers = encoding.map(|encoding| ("content-encoding".to_owned(), encoding.to_owned()));
        HttpResponse { status: 200, headers: headers.into_iter().collect(), body }
    }

    fn zipped(body: &[u8]) -> Vec<u8> {
        let request = HttpRequest { body: body.to_vec(), ..HttpRequest::get("http://localhost/") };
        let request = compress(request, 0).unwrap();
        assert_eq!(request.headers, [("content-encoding", "gzip".to_owned())]);
        request.body
    }

    #[test]
    fn a_short_body_is_sent_as_it_is() {
        let request = HttpRequest { body: vec![b'a'; 9], ..HttpRequest::get("http://localhost/") };
        let request = compress(request, 9).unwrap();
        assert_eq!((request.body.len(), request.headers.len()), (9, 0));
    }

    #[test]
    fn an_answer_is_decoded_within_the_bound() {
        let body = vec![b'a'; 1000];
        for (encoding, sent) in [
            (None, body.clone()),
            (Some("gzip"), zipped(&body)),
            (Some("GZIP"), zipped(&body)),
            (Some("identity"), body.clone()),
        ] {
            assert_eq!(decoded(response(encoding, sent.clone()), 1000).unwrap().body, body, "{encoding:?}");
            assert!(decoded(response(encoding, sent), 999).is_err(), "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zipped(&vec![0; 50 << 20]);
        assert!(bomb.len() < 300_000);
        assert!(decoded(response(Some("gzip"), bomb), 150_000).is_err());
    }

    #[test]
    fn what_is_not_encoded_as_it_says_is_a_failure() {
        let body = br#"{"result":true}"#.to_vec();
        for encoding in ["gzip", "br", "deflate", "gzip, gzip", ""] {
            assert!(decoded(response(Some(encoding), body.clone()), 1000).is_err(), "{encoding}");
        }
        let mut cut = zipped(&body);
        cut.truncate(cut.len() - 1);
        assert!(decoded(response(Some("gzip"), cut), 1000).is_err());
        let mut twice = response(Some("gzip"), zipped(&body));
        twice.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        assert!(decoded(twice, 1000).is_err());
    }
}
