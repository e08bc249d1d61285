export default async function globalTeardown() {
  await (globalThis as { endTests?: () => Promise<void> }).endTests?.()
}
