//! A future against its deadline and the wish to stop.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::interrupt::Interrupt;

pub(crate) enum Ended<T> {
    With(T),
    Late,
    Interrupted,
}

/// Whatever comes first. The deadline's future is looked at only while there is nothing to do.
pub(crate) async fn race<T>(
    work: impl Future<Output = T>,
    deadline: impl Future<Output = ()>,
    interrupt: &Interrupt,
) -> Ended<T> {
    let (mut work, mut deadline) = (pin!(work), pin!(deadline));
    let mut place = interrupt.place();
    poll_fn(move |context| {
        if let Poll::Ready(outcome) = work.as_mut().poll(context) {
            return Poll::Ready(Ended::With(outcome));
        }
        if place.asked(context) {
            return Poll::Ready(Ended::Interrupted);
        }
        deadline.as_mut().poll(context).map(|()| Ended::Late)
    })
    .await
}
