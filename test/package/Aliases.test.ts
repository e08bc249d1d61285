/**
 * The bundles take Node's URL in place of the package that the MongoDB driver brings (serverless.yml,
 * esbuild.alias): connection strings must be read as before.
 */
import { buildSync } from 'esbuild'
import { optionalPackages } from '../../support/optionalPackages.ts'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const uris = [
  'mongodb://localhost',
  'mongodb://localhost:27017/auth',
  'mongodb://a:1,b:2,c:3/auth?replicaSet=rs0&w=majority',
  'mongodb+srv://u:p%40ss%2Fw%3A%C3%A4@cluster0.abc.mongodb.net/auth?retryWrites=true&w=majority&appName=Cluster0',
  'mongodb://u%20x:p%25@[::1]:27017/db?authSource=admin&tls=true',
  'mongodb://u:p@127.0.0.1:27017,127.0.0.2/',
  'mongodb://%2Ftmp%2Fmongodb-27017.sock/auth',
  'mongodb://USER:Pa$$w0rd!*()@HOST.example.COM/Auth?readPreferenceTags=dc:ny,rack:1&readPreferenceTags=',
  'mongodb://host/db?authMechanism=MONGODB-AWS&authSource=$external',
  'mongodb://münchen.example/db',
  'mongodb://h/d%C3%A4b',
  'mongodb://u:pa/ss@h/x',
  'mongodb://u:p@ss@h/x',
  'mongodb://h:99999/x',
  'mongodb://h/x?foo=1',
  'mongodb://',
  'mongodb:///x',
]

const source = `
import mongoose from 'mongoose'
const read = (uri) => {
  try {
    const { hosts, srvHost, dbName, credentials, ...rest } = new mongoose.mongo.MongoClient(uri).options
    const { replicaSet, tls, appName, readPreference, writeConcern } = rest
    const { username, password, source, mechanism } = credentials ?? {}
    return { hosts: hosts.map(String), srvHost, dbName, username, password, source, mechanism, replicaSet, tls, appName, readPreference, writeConcern }
  } catch (error) {
    return { name: error.name, message: error.message }
  }
}
process.stdout.write(JSON.stringify(${JSON.stringify(uris)}.map(read)), () => process.exit())
`

const folder = mkdtempSync(join(tmpdir(), 'auth-alias-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What the driver reads of each connection string, bundled with an alias or without. */
function readings(name: string, alias: Record<string, string>): unknown[] {
  const outfile = join(folder, `${name}.cjs`)
  buildSync({
    stdin: { contents: source, resolveDir: process.cwd() },
    outfile,
    alias,
    bundle: true,
    platform: 'node',
    logLevel: 'error',
    external: optionalPackages,
  })
  const { stdout, stderr } = spawnSync(process.execPath, [outfile], { encoding: 'utf8' })
  if (!stdout) throw new Error(stderr.slice(-500))
  return JSON.parse(stdout) as unknown[]
}

test('the driver reads every connection string alike, good and bad', () => {
  const [plain, aliased] = [readings('plain', {}), readings('aliased', { 'whatwg-url': 'node:url' })]
  expect(aliased).toEqual(plain)
  expect(plain[1]).toMatchObject({ hosts: ['localhost:27017'], dbName: 'auth' })
  expect(plain.at(-1)).toMatchObject({ name: 'MongoParseError' })
})
