//! Who may do what.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "authorizer.class.name": String = Some(""), Any, Low, ReadOnly, SECURITY,
        "Class that decides who may do what.";
    "delegation.token.expiry.check.interval.ms": Long = Some("3600000"), AtLeast(1), Low, ReadOnly, SECURITY,
        "How often expired delegation tokens are removed.";
    "delegation.token.expiry.time.ms": Long = Some("86400000"), AtLeast(1), Medium, ReadOnly, SECURITY,
        "Life of a delegation token between renewals.";
    "delegation.token.max.lifetime.ms": Long = Some("604800000"), AtLeast(1), Medium, ReadOnly, SECURITY,
        "Longest life of a delegation token with all renewals.";
    "delegation.token.secret.key": Password = None, Any, Medium, ReadOnly, SECURITY,
        "Secret that signs delegation tokens.";
    "principal.builder.class": Class = Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Any, Medium, PerBroker, SECURITY,
        "Class that turns a login into a principal.";
    "security.providers": String = None, Any, Low, ReadOnly, JAVA_CLASSES,
        "Classes that bring security algorithms to the Java runtime.";
};
