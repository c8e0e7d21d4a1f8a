use std::collections::HashSet;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{AccessRequest, Failure};
use sekisho_http::{HttpRequest, HttpResponse};

use super::AuthZen;
use super::question::{Evaluation, Page};
use crate::remote::Remote;
use crate::remote::strict::{self, malformed};

/// Bounds the pages of one search.
const MAX_PAGES: usize = 20;
/// Bounds the results of one search.
const MAX_RESULTS: usize = 10_000;
/// Bounds a page token and a name among the results, in bytes.
const MAX_TOKEN: usize = 4096;

/// Names what a search looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the standard has these three")]
pub enum Sought {
    /// Who may do this action to this resource?
    Subjects,
    /// To which resources may this subject do this action?
    Resources,
    /// What may this subject do to this resource?
    Actions,
}

impl AuthZen {
    /// Searches (§8): returns the ids of subjects or resources, or the names of actions, for which `request` would be
    /// permitted if it had them.
    ///
    /// What is sought is left out of the question, but for its type. The results are for showing, not a leave: whoever acts
    /// on one asks again. A result that comes with obligations is left out, for nobody here fulfils them.
    ///
    /// It is asked through `remote`, made of a clone of this: within its time, all pages together, as one of the requests that it
    /// sends at once, and not while the service is left alone. A page has at most 1 MiB. Where lists take longer than decisions may, make
    /// another `Remote` for them, so that neither waits for the other.
    ///
    /// # Errors
    /// [`Failure`] when the service cannot search, an answer does not come in time or is not one, a result is of another
    /// type than was sought, a page leads back to one before, or there are more than 20 pages or 10,000 results.
    pub async fn search(
        &self,
        remote: &Remote,
        sought: Sought,
        request: &AccessRequest<'_>,
    ) -> Result<Vec<String>, Failure> {
        let deadline = remote.list_deadline()?;
        let (mut found, mut seen, mut token) = (Vec::new(), HashSet::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let asked = self.ask_page(sought, request, token.as_deref())?;
            let read = |response: &HttpResponse| {
                self.check_request_id(&asked, response)?;
                read_page(sought, request, response)
            };
            let (results, next) = remote.list(asked.clone(), deadline, read).await?;
            found.extend(results);
            if found.len() > MAX_RESULTS {
                return Err(malformed("a search found too much"));
            }
            let Some(next) = next else { return Ok(found) };
            if !seen.insert(next.clone()) {
                return Err(malformed("a page of a search leads back to one before"));
            }
            token = Some(next);
        }
        Err(malformed("a search has too many pages"))
    }

    fn ask_page(
        &self,
        sought: Sought,
        request: &AccessRequest<'_>,
        token: Option<&str>,
    ) -> Result<HttpRequest, Failure> {
        let url = match sought {
            Sought::Subjects => &self.endpoints.subjects,
            Sought::Resources => &self.endpoints.resources,
            Sought::Actions => &self.endpoints.actions,
        };
        let url = url.as_ref().ok_or(strict::unwritable("this decision service does not search for this"))?;
        let mut question = Evaluation::of(request, &self.subjects)?;
        let entity = match sought {
            Sought::Subjects => question.subject.as_mut(),
            Sought::Resources => question.resource.as_mut(),
            Sought::Actions => {
                question.action = None;
                None
            }
        };
        if let Some(entity) = entity {
            (entity.id, entity.properties) = (None, None);
        }
        question.page = token.map(|token| Page { token });
        self.with_headers(strict::post(url, &question)?)
    }
}

/// Reads one page: what it holds, and the token of the next one.
fn read_page(
    sought: Sought,
    request: &AccessRequest<'_>,
    response: &HttpResponse,
) -> Result<(Vec<String>, Option<String>), Failure> {
    let answer = strict::json_answer(response)?;
    let results = answer.get("results").filter(|results| results.kind() == JsonKind::Array);
    let results = results.ok_or(malformed("a search answers without results"))?.elements();
    let (kind, name) = match sought {
        Sought::Subjects => (Some(request.subject_kind()), "id"),
        Sought::Resources => (Some(request.resource().kind()), "id"),
        Sought::Actions => (None, "name"),
    };
    let mut found = Vec::with_capacity(results.len());
    for result in results {
        let text = |name| result.member(name).and_then(JsonValue::as_str);
        if kind.is_some() && text("type").as_deref() != kind {
            return Err(malformed("a search found something of another type"));
        }
        let id = text(name).filter(|id| (1..=MAX_TOKEN).contains(&id.len()));
        let id = id.ok_or(malformed("a search found something without a name"))?;
        let is_free = result.member("obligations").is_none_or(|obligations| obligations.as_json() == "[]");
        if is_free {
            found.push(id.into_owned());
        }
    }
    Ok((found, next_token(&answer)?))
}

fn next_token(answer: &JsonObject) -> Result<Option<String>, Failure> {
    let Some(page) = answer.get("page") else { return Ok(None) };
    let unreadable = malformed("the page of a search cannot be read");
    if page.kind() != JsonKind::Object {
        return Err(unreadable);
    }
    // It is required, but some leave it out at the end.
    let Some(token) = page.member("next_token") else { return Ok(None) };
    let token = token.as_str().filter(|token| token.len() <= MAX_TOKEN).ok_or(unreadable)?;
    Ok((!token.is_empty()).then(|| token.into_owned()))
}
