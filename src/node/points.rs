//! Where the leaders of both ends of a move pass the points that tests are interested in ([`crate::failpoints`]).

use super::machine::Outcome;
use super::moves::{Deed, End, Step};
use super::replica::Replica;
use crate::failpoints::{Point, reached};
use crate::keyspace::{Entry, ExportEndHow, Step as Logged};
use crate::protocol::moves::{ImportState, MoveBody, MoveMessage};

/// Something is about to be proposed or sent.
pub fn decided(deed: &Deed) {
    if !cfg!(feature = "failpoints") {
        return;
    }
    match deed {
        Deed::Log(Step::Freeze { .. }) => reached(Point::FreezeProposed),
        Deed::Log(Step::ImportFinish { .. }) => reached(Point::FinishProposed),
        Deed::Log(Step::ExportEnd { how: End::Gone, .. }) => reached(Point::GoneProposed),
        Deed::Log(Step::ExportEnd { how: End::Undo, .. }) => reached(Point::UndoProposed),
        Deed::Log(_) => {}
        Deed::Send { message, .. } => match MoveMessage::decode(message).map(|message| message.body) {
            Ok(MoveBody::Start { .. }) => reached(Point::StartSent),
            Ok(MoveBody::Piece { .. }) => reached(Point::PieceSent),
            Ok(MoveBody::Finish { .. }) => reached(Point::FinishSent),
            Ok(MoveBody::Refuse { .. }) => reached(Point::RefuseSent),
            _ => {}
        },
    }
}

/// The leader of a source hears from a target.
pub fn heard(message: &MoveMessage<'_>) {
    match &message.body {
        MoveBody::State { state: ImportState::Taken, .. } => reached(Point::TakenHeard),
        MoveBody::State { state: ImportState::Refused, .. } => reached(Point::RefusedHeard),
        _ => {}
    }
}

/// A replica has applied an entry.
pub fn applied(replica: &Replica, entry: &[u8], outcome: Outcome) {
    if !cfg!(feature = "failpoints") || outcome != Outcome::Moved || !replica.group.leads() {
        return;
    }
    let Ok(Entry::Move { step, .. }) = Entry::decode(entry) else { return };
    reached(match step {
        Logged::ExportStart { .. } => Point::ExportStartLogged,
        Logged::ExportRound { .. } => Point::RoundLogged,
        Logged::Freeze { .. } => Point::FreezeLogged,
        Logged::ExportEnd { how: ExportEndHow::Gone, .. } => Point::GoneLogged,
        Logged::ExportEnd { how: ExportEndHow::Undo, .. } => Point::UndoLogged,
        Logged::ExportEnd { how: ExportEndHow::UndoRefused, .. } => Point::UndoRefusedLogged,
        Logged::ImportStart { .. } => Point::ImportStartLogged,
        Logged::ImportPiece { .. } => Point::PieceLogged,
        Logged::ImportFinish { .. } => Point::FinishLogged,
        Logged::ImportRefuse { .. } => Point::RefuseLogged,
        Logged::Closing => Point::ClosingLogged,
    });
}
