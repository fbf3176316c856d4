//! SSCAN.

use super::super::call::{CommandResult, ReadCall};
use super::super::element_scan::{ScanOptions, scan_cursor};
use super::super::value::{Set, SetEncoding};
use crate::protocol::reply::ReplyWriter;

pub fn sscan(call: &mut ReadCall<'_>) -> CommandResult {
    let cursor = scan_cursor(call.args)?;
    let Some(set) = call.collection::<Set>(call.args.get(1))? else {
        write_page(&mut call.reply, 0, &[]);
        return Ok(());
    };
    let options = ScanOptions::parse(call.args)?;
    let (found, next) = if set.encoding() == SetEncoding::HashTable {
        options.walk(set.iter_from_position(cursor), false, |member| member)
    } else {
        options.walk(set.in_order().map(|member| (0, member)), true, |member| member)
    };
    write_page(&mut call.reply, next, &found);
    Ok(())
}

fn write_page(reply: &mut ReplyWriter<'_>, cursor: u64, members: &[&[u8]]) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(members.len());
    members.iter().for_each(|member| reply.bulk(member));
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{apply, read, whole};

    /// Cursor and members of a page.
    fn page(reply: &str) -> (String, Vec<String>) {
        let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
        (lines.next().unwrap().to_owned(), lines.map(str::to_owned).collect())
    }

    #[test]
    fn a_walk_returns_every_member_that_stays_exactly_once_whatever_comes_and_goes() {
        let mut keyspace = whole();
        for number in 0..1000 {
            apply(&mut keyspace, 1, &format!("SADD s stays:{number} goes:{number}"));
        }
        let (mut cursor, mut seen, mut pages) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let (next, members) = page(&read(&keyspace, 1, &format!("SSCAN s {cursor} COUNT 50 MATCH stays*")));
            seen.extend(members);
            pages += 1;
            apply(&mut keyspace, 1, &format!("SREM s goes:{} goes:{} goes:{}", pages * 7, pages * 11, pages * 23));
            apply(&mut keyspace, 1, &format!("SADD s new:{pages}"));
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        assert!(pages > 30);
        seen.sort();
        let mut all: Vec<String> = (0..1000).map(|number| format!("stays:{number}")).collect();
        all.sort();
        assert_eq!(seen, all);
    }

    #[test]
    fn a_small_set_comes_whole_and_numbers_in_order() {
        let mut keyspace = whole();
        apply(&mut keyspace, 1, "SADD s 10 9 -1 300");
        let (cursor, members) = page(&read(&keyspace, 1, "SSCAN s 12345 COUNT 1"));
        assert_eq!((cursor.as_str(), members.join(" ").as_str()), ("0", "-1 9 10 300"));
        assert_eq!(read(&keyspace, 1, "SSCAN none 0 WRONG OPTIONS"), "*2\r\n$1\r\n0\r\n*0\r\n");
        assert!(read(&keyspace, 1, "SSCAN s 0 WRONG OPTIONS").starts_with("-ERR syntax"));
        assert!(read(&keyspace, 1, "SSCAN s x WRONG OPTIONS").starts_with("-ERR invalid cursor"));
    }
}
