/**
 * The database goes away and comes back. Each case loads the handlers anew, as a new container does.
 */
import type * as Handlers from '../../user/UserHandler.ts'
import { databaseUri, dropDatabase, onDatabase } from '../support/database.ts'
import { request } from '../../support/events.ts'
import { type Proxy, startProxy } from '../../support/proxy.ts'

const DIRECT = process.env['DB']!
/** A proxy is no way to a server found by SRV or reached by TLS. */
const describeIfPlain =
  DIRECT.startsWith('mongodb+srv') || /tls=|ssl=|,/.test(DIRECT) ? describe.skip : describe

describeIfPlain('when the database is away', () => {
  let proxy: Proxy
  let users: typeof Handlers.users
  let disconnect: () => Promise<void>

  /** Loads db.ts and a handler as a new container would. */
  const newContainer = async () => {
    jest.resetModules()
    ;({ users } = await import('../../user/UserHandler.ts'))
    const { default: mongoose } = await import('mongoose')
    disconnect = () => mongoose.disconnect()
  }

  const call = async () => {
    const start = performance.now()
    const result = await users(request())
    return { status: result.statusCode, seconds: (performance.now() - start) / 1000, result }
  }

  const expectUnavailable = async () => {
    const { status, seconds, result } = await call()
    expect(status).toBe(503)
    expect(seconds).toBeLessThan(6)
    expect(result.headers).toMatchObject({ 'Retry-After': '5', 'Content-Type': 'application/problem+json' })
    expect(JSON.parse(result.body)).toEqual({
      type: 'about:blank',
      title: 'Service Unavailable',
      status: 503,
      detail: 'The service is unavailable right now. Try again in a moment.',
      code: 'unavailable',
      requestId: 'request-1',
    })
  }

  beforeAll(async () => {
    proxy = await startProxy(DIRECT)
    process.env['DB'] = proxy.uri
  })

  beforeEach(newContainer)

  afterEach(() => disconnect())

  afterAll(async () => {
    await proxy.stop()
    await dropDatabase(DIRECT)
  })

  test('a warm container answers 503 within 6 s, and the first request after it is back succeeds', async () => {
    expect((await call()).status).toBe(200)
    await proxy.stop()
    await expectUnavailable()
    await expectUnavailable()
    await proxy.start()
    expect((await call()).status).toBe(200)
  })

  test('so does a container that was started during the outage', async () => {
    await proxy.stop()
    await expectUnavailable()
    await proxy.start()
    expect((await call()).status).toBe(200)
  })

  test('a connection that was cut between two requests costs the client nothing', async () => {
    expect((await call()).status).toBe(200)
    await proxy.stop()
    await proxy.start()
    expect((await call()).status).toBe(200)
  })

  test('a server that accepts and says nothing is a 503 within 6 s as well', async () => {
    expect((await call()).status).toBe(200)
    proxy.freeze()
    await expectUnavailable()
    await proxy.stop()
    await proxy.start()
    expect((await call()).status).toBe(200)
  })

  test('a host name that DNS does not find is one too, though the error is not the driver’s', async () => {
    process.env['DB'] = 'mongodb+srv://cluster.nowhere.invalid/auth'
    await newContainer()
    await expectUnavailable()
    expect((await call()).status).toBe(503)
    process.env['DB'] = proxy.uri
  })

  test('no container works without the unique index: with two users of one address, none does', async () => {
    const uri = databaseUri()
    const twice = [0, 1].map((index) => ({ name: `Ann ${index}`, email: 'ann@example.com', disabled: false }))
    await onDatabase(uri, (database) => database.collection('users').insertMany(twice))
    process.env['DB'] = uri
    await newContainer()
    await expectUnavailable()
    await onDatabase(uri, (database) => database.collection('users').deleteOne({ name: 'Ann 1' }))
    expect((await call()).status).toBe(200)
    process.env['DB'] = proxy.uri
    await dropDatabase(uri)
  })
})
