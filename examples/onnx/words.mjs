// Words of texts as an exported bag of words reads them: ids and weights. The rule of
// token_pattern=None, for browsers and Node.js, without any package.
//
//     import { makeReader } from "./words.mjs";
//     const read = makeReader(await (await fetch("exported/words.json")).json());
//     read(["A text"]); // { ids, weights, shape }: arrays of one axis, padded with weights of 0

const SHORT = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}ー"; // no spaces between words
// Unicode's Line_Break=SA, which JavaScript does not know by name
const LONG =
  "\\u0E01-\\u0E3A\\u0E40-\\u0E4E\\u0E81-\\u0EBD\\u0EC0-\\u0ECE\\u0EDC-\\u0EDF\\u1000-\\u103F" +
  "\\u1050-\\u108F\\u109A-\\u109F\\u1780-\\u17D3\\u17D7\\u17DC\\u17DD\\u1950-\\u19C9" +
  "\\u19DE\\u19DF\\u1A20-\\u1A5E\\u1A60-\\u1A7C\\u1AA0-\\u1AAD\\uA9E0-\\uA9EF\\uA9FA-\\uA9FE" +
  "\\uAA60-\\uAAC2\\uAADB-\\uAADF\\u{11700}-\\u{1172B}\\u{1173A}\\u{1173B}\\u{1173F}-\\u{11746}";
const LETTER = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
const INVISIBLE = /(?!\u200B)[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;
const WORD = new RegExp(
  `(?!\\p{M})[${LETTER}\\p{N}]+` +
    `(?:(?<=\\p{L}\\p{M}*)(?:\\+\\+|[+#]+(?!(?![${SHORT}${LONG}])[${LETTER}])))?`,
  "gu",
);
const UNSPACED = new RegExp(`[${SHORT}${LONG}]`, "u");
const RUN = new RegExp(
  `[${SHORT}][${SHORT}\\p{M}]*|(?<long>[${LONG}][${LONG}\\p{M}]*)|(?<spaced>[^${SHORT}${LONG}]+)`,
  "gu",
);
const CHARACTERS = new Intl.Segmenter("en", { granularity: "grapheme" });
// what follows is written below, in Burmese, Khmer and Tai Tham
const STACKS =
  /(?:\u1039\p{M}*\|[\u1000-\u102A\u103F]|\u17D2\p{M}*\|[\u1780-\u17B3]|\u1A60\p{M}*\|[\u1A20-\u1A54])/u;

// Characters with their marks; engines before Unicode 16 part those that are stacked.
function charactersOf(run) {
  const characters = [];
  for (const { segment } of CHARACTERS.segment(run))
    if (STACKS.test(`${characters.at(-1)}|${segment}`)) characters.push(characters.pop() + segment);
    else characters.push(segment);
  return characters;
}

// Words, in lower case; characters and their n-grams where no spaces are written.
export function wordsOf(text) {
  text = text.replace(INVISIBLE, "").replaceAll("＋", "+").replaceAll("＃", "#");
  text = text.normalize("NFC").toLowerCase().replaceAll("i\u0307", "i");
  const found = Array.from(text.matchAll(WORD), ([w]) => w.normalize("NFKC").toLowerCase());
  if (!UNSPACED.test(text)) return found;
  const words = [];
  for (const word of found)
    for (const { 0: run, groups } of word.matchAll(RUN)) {
      const characters = groups.spaced ? [run] : charactersOf(run);
      for (let n = 1; n <= (groups.spaced ? 1 : groups.long ? 3 : 2); n++)
        for (let start = 0; start + n <= characters.length; start++)
          words.push(characters.slice(start, start + n).join(""));
    }
  return words;
}

// From texts to the inputs of the graph; `rule` is what words.json holds.
export function makeReader(rule) {
  if (rule.token_pattern !== null || !rule.is_nfc)
    throw new Error("This model cuts words by another rule, which words.json names.");
  const known = new Map(rule.words.map((word, id) => [word, id]));
  const [shortest, longest] = rule.ngram_range;
  const weightsOf = (text) => {
    const words = wordsOf(text), counts = new Map();
    for (let n = shortest; n <= longest; n++)
      for (let start = 0; start + n <= words.length; start++) {
        const id = known.get(words.slice(start, start + n).join(" "));
        if (id !== undefined) counts.set(id, (counts.get(id) ?? 0) + 1);
      }
    const weights = Array.from(counts, ([id, n]) => [id, (1 + Math.log(n)) * rule.idf[id]]);
    const length = Math.hypot(...weights.map(([, weight]) => weight));
    return weights.map(([id, weight]) => [id, weight / length]);
  };
  return (texts) => {
    const rows = texts.map(weightsOf);
    const longestRow = rows.reduce((most, row) => Math.max(most, row.length), 1);
    const ids = new BigInt64Array(rows.length * longestRow), weights = new Float32Array(ids.length);
    rows.forEach((row, i) => row.forEach(([id, weight], j) => {
      ids[i * longestRow + j] = BigInt(id);
      weights[i * longestRow + j] = weight;
    }));
    return { ids, weights, shape: [rows.length, longestRow] };
  };
}
