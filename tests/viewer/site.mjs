// OHIF's files and an Orthanc behind one origin, as a hospital's proxy would serve them.

import { createServer, request } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';

const CONTENT_TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.ttf': 'font/ttf',
};

// Orthanc's DICOMweb plugin 1.7 compares query values without decoding them. A space cannot stand in a request
// line, so it becomes the wildcard for one character.
const undecoded = path => {
  const [route, query] = path.split('?', 2);
  if (query === undefined) return path;
  const plain = query.replace(/%20|\+/g, '?').replace(/%[0-9a-f]{2}/gi, code => {
    const character = decodeURIComponent(code);
    return '*^,:/@()'.includes(character) ? character : code;
  });
  return `${route}?${plain}`;
};

const toOrthanc = (orthanc, incoming, outgoing) => {
  // The Host header stays: Orthanc builds the addresses of bulk data from it.
  const { method, headers } = incoming;
  const onward = request({ host: orthanc.hostname, port: orthanc.port, method, headers, path: undecoded(incoming.url) });
  onward.on('response', answer => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  onward.on('error', error => outgoing.writeHead(502).end(String(error)));
  incoming.pipe(onward);
};

const fromDisk = async (file, outgoing) => {
  const body = await readFile(file);
  outgoing.writeHead(200, { 'Content-Type': CONTENT_TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
};

/** Starts the site on a free port and gives its address and a function that ends it. */
export const startSite = async ({ ohif, config, orthanc }) => {
  const target = new URL(orthanc);
  const server = createServer(async (incoming, outgoing) => {
    const { pathname } = new URL(incoming.url, 'http://site');
    if (/^\/(dicom-web|wado)(\/|$)/.test(pathname)) return toOrthanc(target, incoming, outgoing);
    if (pathname === '/app-config.js') return fromDisk(config, outgoing);
    // No service worker: it would ask a public server for its library.
    if (pathname === '/init-service-worker.js') return outgoing.writeHead(200, { 'Content-Type': 'text/javascript' }).end();
    const file = join(ohif, normalize(decodeURIComponent(pathname)));
    if (!file.startsWith(ohif + sep) && file !== ohif) return outgoing.writeHead(404).end();
    try {
      await fromDisk(file, outgoing);
    } catch {
      // A route of the page, unless it names a file.
      if (extname(pathname)) outgoing.writeHead(404).end();
      else await fromDisk(join(ohif, 'index.html'), outgoing);
    }
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
};
