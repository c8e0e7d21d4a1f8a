//! Several authorizers as one, by the combining algorithms of XACML 3.0, with a stated fallback.
