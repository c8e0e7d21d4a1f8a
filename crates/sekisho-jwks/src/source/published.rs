//! A value that is read without waiting and replaced as a whole.

use std::sync::Arc;

#[cfg(not(sekisho_shuttle))]
pub(super) struct Published<T>(arc_swap::ArcSwap<T>);

#[cfg(not(sekisho_shuttle))]
impl<T> Published<T> {
    pub(super) fn new(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    pub(super) fn read<R>(&self, with: impl FnOnce(&T) -> R) -> R {
        with(&self.0.load())
    }

    pub(super) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(super) fn store(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// Stands in for `ArcSwap`, which `shuttle` cannot see into: each load and each store is one atomic step, as there.
#[cfg(sekisho_shuttle)]
pub(super) struct Published<T>(crate::sync::Mutex<Arc<T>>);

#[cfg(sekisho_shuttle)]
impl<T> Published<T> {
    pub(super) fn new(value: T) -> Self {
        Self(crate::sync::Mutex::new(Arc::new(value)))
    }

    pub(super) fn read<R>(&self, with: impl FnOnce(&T) -> R) -> R {
        with(&self.load())
    }

    pub(super) fn load(&self) -> Arc<T> {
        Arc::clone(&crate::sync::lock(&self.0))
    }

    pub(super) fn store(&self, value: T) {
        *crate::sync::lock(&self.0) = Arc::new(value);
    }
}
