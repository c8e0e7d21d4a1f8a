//! Where policies come from: files, URLs, bundles; swapped while requests are decided.
