//! `monoco resume`: thaw a suspended session.

use session_core::control::Request;
use session_core::{SessionManager, Status};

use super::each::each;
use super::suspend::bring_to;
use crate::args::Resume;
use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn resume(manager: &SessionManager, args: &Resume) -> Result<Exit, CliError> {
    each(manager, &args.ids, |id| {
        bring_to(
            manager,
            id,
            &Request::Resume,
            Status::Running,
            " and has no conversation to continue",
        )
    })
}
