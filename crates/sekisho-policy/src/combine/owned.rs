use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Principal, Resource, UnixSeconds};

/// Is a request that outlives the call in which it was made.
pub(crate) struct OwnedRequest {
    subject: Principal,
    subject_kind: Box<str>,
    action: Box<str>,
    action_properties: Option<JsonObject>,
    resource_kind: Box<str>,
    resource_id: Box<str>,
    attributes: Option<JsonObject>,
    context: Option<JsonObject>,
    now: UnixSeconds,
}

impl OwnedRequest {
    /// Copies it, or `None` if the attributes of its resource cannot be written.
    pub(crate) fn of(request: &AccessRequest<'_>) -> Option<Self> {
        let resource = request.resource();
        let attributes = match resource.attributes() {
            None => None,
            Some(attributes) => Some(attributes.to_json().ok()?),
        };
        Some(Self {
            subject: request.subject().clone(),
            subject_kind: request.subject_kind().into(),
            action: request.action().into(),
            action_properties: request.action_properties().cloned(),
            resource_kind: resource.kind().into(),
            resource_id: resource.id().into(),
            attributes,
            context: request.context().cloned(),
            now: request.now(),
        })
    }

    pub(crate) fn as_request(&self) -> AccessRequest<'_> {
        let resource = Resource::new(&self.resource_kind, &self.resource_id);
        let resource = match &self.attributes {
            Some(attributes) => resource.with_attributes(attributes),
            None => resource,
        };
        let mut request =
            AccessRequest::new(&self.subject, &self.action, resource, self.now).with_subject_kind(&self.subject_kind);
        if let Some(properties) = &self.action_properties {
            request = request.with_action_properties(properties);
        }
        if let Some(context) = &self.context {
            request = request.with_context(context);
        }
        request
    }

    /// Estimates the bytes of memory behind it.
    pub(crate) fn bytes(&self) -> usize {
        let objects = [&self.action_properties, &self.attributes, &self.context];
        let objects: usize = objects.into_iter().flatten().map(JsonObject::heap_bytes).sum();
        let texts = self.subject_kind.len() + self.action.len() + self.resource_kind.len() + self.resource_id.len();
        size_of::<Self>() + self.subject.heap_bytes() + objects + texts
    }
}
