/**
 * A TCP proxy before a database, to take the database away from its clients and give it back, or further away.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Proxy {
  /** The connection string through the proxy. */
  uri: string
  /** Refuses connections and cuts the open ones, as a stopped server does. */
  stop: () => Promise<void>
  /** Keeps connections open but passes nothing on, as a frozen server does. */
  freeze: () => void
  /** Serves again. */
  start: () => Promise<void>
  /** Takes so many milliseconds more each way from now on. */
  delay: (milliseconds: number) => void
}

/** @param target a connection string of one host, without TLS */
export async function startProxy(target: string): Promise<Proxy> {
  const database = new URL(target)
  const sockets = new Set<Socket>()
  let frozen = false
  let delay = 0
  let server: Server
  let port = 0

  const pass = (data: Buffer, to: Socket) => {
    if (frozen) return
    if (delay === 0) to.write(data)
    else setTimeout(() => to.write(data), delay)
  }
  const start = async () => {
    frozen = false
    server = createServer((client) => {
      const upstream = connect(Number(database.port || 27017), database.hostname)
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        socket.on('error', () => undefined)
        socket.on('close', () => {
          sockets.delete(socket)
          client.destroy()
          upstream.destroy()
        })
      }
      client.on('data', (data) => pass(data, upstream))
      upstream.on('data', (data) => pass(data, client))
    })
    await new Promise<void>((done) => server.listen(port, '127.0.0.1', done))
    port = (server.address() as { port: number }).port
  }
  await start()

  const uri = new URL(target)
  uri.host = `127.0.0.1:${port}`
  // Or the driver would go round the proxy, to the members of a replica set.
  uri.searchParams.set('directConnection', 'true')
  return {
    uri: uri.href,
    start,
    freeze: () => {
      frozen = true
    },
    delay: (milliseconds) => {
      delay = milliseconds
    },
    stop: async () => {
      const closed = new Promise((done) => server.close(done))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
