//! What may be asked by whom: somebody who only reads, or somebody who may change what there is.

use crate::{engine::Request, keys::KeysRequest};

/// Whether a request changes something that others see. One that is new has to be put on either side here.
pub fn needs_to_change(request: &Request) -> bool {
    match request {
        Request::Heads { .. } | Request::Read { .. } | Request::Logs | Request::Lives { .. } => false,
        // Something durable, in which there is nothing.
        Request::Barrier { .. } => false,
        Request::Append { .. }
        | Request::Raise { .. }
        | Request::Release { .. }
        | Request::Tell { .. }
        | Request::Create { .. }
        | Request::Remove { .. }
        | Request::Beat { .. }
        | Request::Trim { .. } => true,
        Request::Keys(request) => match request {
            KeysRequest::Get { .. } | KeysRequest::List { .. } | KeysRequest::Changes | KeysRequest::Notes { .. } => {
                false
            }
            KeysRequest::Put(_) | KeysRequest::Delete { .. } | KeysRequest::Note { .. } => true,
        },
    }
}
