// The best labels of texts by an exported bag of words, in Node.js: one line of JSON each.
//
//     npm install onnxruntime-web && node examples/onnx/predict.mjs FOLDER < texts.txt
//
// In a browser, fetch the three files, and the rest is the same.

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { makeReader } from "./words.mjs";

const folder = process.argv[2];
const read = makeReader(JSON.parse(readFileSync(`${folder}/words.json`, "utf8")));
const names = JSON.parse(readFileSync(`${folder}/labels.json`, "utf8"));
const session = await ort.InferenceSession.create(readFileSync(`${folder}/model.onnx`));

const texts = readFileSync(0, "utf8").split("\n");
if (texts.at(-1) === "") texts.pop(); // what follows the last line
if (!texts.length) process.exit(); // onnxruntime-web fails at none
const { ids, weights, shape } = read(texts);
const { labels, proba } = await session.run({
  word_ids: new ort.Tensor("int64", ids, shape),
  word_weights: new ort.Tensor("float32", weights, shape),
});
const k = labels.dims[1];
texts.forEach((_, i) => {
  const row = [i * k, (i + 1) * k];
  const best = Array.from(labels.data.slice(...row), (label) => names[Number(label)]);
  console.log(JSON.stringify({ labels: best, proba: Array.from(proba.data.slice(...row)) }));
});
