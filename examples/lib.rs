//! Programs that show one pattern each; see the files beside this one.
