//! Tests against real servers and against cases that nobody here wrote; see the folders beside this file.
