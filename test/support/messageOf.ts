/** The message of the error that some work throws. */
export function messageOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return (error as Error).message
  }
  return 'no error'
}
