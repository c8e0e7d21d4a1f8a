use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Attributes, Principal, Resource, UnixSeconds};

/// Is a question that outlives whoever asked it: others may wait for the same answer.
pub(crate) struct Question {
    subject: Principal,
    subject_kind: Box<str>,
    action: Box<str>,
    action_properties: Option<JsonObject>,
    kind: Box<str>,
    id: Box<str>,
    attributes: Option<JsonObject>,
    context: Option<JsonObject>,
    now: UnixSeconds,
}

impl Question {
    pub(crate) fn of(request: &AccessRequest<'_>) -> Self {
        let resource = request.resource();
        Self {
            subject: request.subject().clone(),
            subject_kind: request.subject_kind().into(),
            action: request.action().into(),
            action_properties: request.action_properties().cloned(),
            kind: resource.kind().into(),
            id: resource.id().into(),
            attributes: resource.attributes().and_then(|attributes| attributes.to_json().ok()),
            context: request.context().cloned(),
            now: request.now(),
        }
    }

    pub(crate) fn request(&self) -> AccessRequest<'_> {
        let Self { subject, subject_kind, action, action_properties, kind, id, attributes, context, now } = self;
        let mut resource = Resource::new(kind, id);
        if let Some(attributes) = attributes {
            resource = resource.with_attributes(attributes as &dyn Attributes);
        }
        let mut request = AccessRequest::new(subject, action, resource, *now).with_subject_kind(subject_kind);
        if let Some(properties) = action_properties {
            request = request.with_action_properties(properties);
        }
        if let Some(context) = context {
            request = request.with_context(context);
        }
        request
    }
}
