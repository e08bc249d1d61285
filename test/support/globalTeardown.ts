export default async function globalTeardown() {
  await (globalThis as { stopTestServer?: () => Promise<void> }).stopTestServer?.()
}
