use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Is what an authorizer answers, in the form that the API expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum AuthorizerResponse {
    /// An IAM policy: REST APIs, format 1.0, and format 2.0 unless simple responses are on.
    #[serde(rename_all = "camelCase")]
    Policy {
        /// Whose policy it is: subject and issuer.
        principal_id: String,
        /// What is allowed or denied.
        policy_document: PolicyDocument,
        /// What the integration is told: text, numbers, booleans.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        context: Map<String, Value>,
    },
    /// The simple response of format 2.0.
    #[serde(rename_all = "camelCase")]
    Simple {
        /// Whether the request passes.
        is_authorized: bool,
        /// What the integration is told.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        context: Map<String, Value>,
    },
}

/// Is an IAM policy of one statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct PolicyDocument {
    /// `2012-10-17`.
    pub version: String,
    /// The one statement.
    pub statement: Vec<PolicyStatement>,
}

/// Is a statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct PolicyStatement {
    /// `execute-api:Invoke`.
    pub action: String,
    /// Allow or deny.
    pub effect: PolicyEffect,
    /// The ARN that it is about.
    pub resource: String,
}

/// Is what a statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "IAM knows no third")]
pub enum PolicyEffect {
    /// May be invoked.
    Allow,
    /// May not be invoked.
    Deny,
}

impl AuthorizerResponse {
    pub(super) fn policy(
        principal_id: String,
        effect: PolicyEffect,
        resource: String,
        context: Map<String, Value>,
    ) -> Self {
        let statement = PolicyStatement { action: "execute-api:Invoke".to_owned(), effect, resource };
        let policy_document = PolicyDocument { version: "2012-10-17".to_owned(), statement: vec![statement] };
        Self::Policy { principal_id, policy_document, context }
    }

    pub(super) const fn simple(is_authorized: bool, context: Map<String, Value>) -> Self {
        Self::Simple { is_authorized, context }
    }

    /// Tells whether the request passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Policy { policy_document, .. } => {
                let statements = &policy_document.statement;
                !statements.is_empty() && statements.iter().all(|one| one.effect == PolicyEffect::Allow)
            }
            Self::Simple { is_authorized, .. } => *is_authorized,
        }
    }
}
