//! The known word that somebody most likely meant.

/// The candidate with the fewest edits from `word`, the first of equals; none when there are no candidates.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A hostile word costs no more than a long one: only its start is looked at.
    let word: Vec<char> = word.chars().take(super::NAME_BYTES_MAX).collect();
    candidates.into_iter().min_by_key(|candidate| edits(&word, candidate))
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other, case ignored.
fn edits(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().collect();
    let mut rows = vec![(0..=candidate.len()).collect::<Vec<_>>()];
    for (i, a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in candidate.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(!a.eq_ignore_ascii_case(b));
            let mut fewest = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == candidate[j - 1] && word[i - 1] == *b {
                fewest = fewest.min(rows[i - 1][j - 1] + 1);
            }
            row.push(fewest);
        }
        rows.push(row);
    }
    rows[word.len()][candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_edits() {
        let known = ["name", "nodes", "weight"];
        for (word, expected) in [("nmae", "name"), ("node", "nodes"), ("WEIGHT", "weight"), ("wieght", "weight")] {
            assert_eq!(nearest(word, known), Some(expected), "{word}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
