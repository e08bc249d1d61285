/**
 * What the code under test logs. It is taken from the streams, since what counts is what CloudWatch would get.
 */

export interface LogLine {
  level: string
  message: string
  /** The name of the event, where it is one of api/Events.ts. */
  event?: string
  [member: string]: unknown
}

/** Keeps the lines of the structured log from being printed; whatever else is printed goes its way. */
export function captureLogs() {
  const texts: string[] = []
  const streams = [process.stdout, process.stderr]
  const prints = streams.map((stream) => stream.write.bind(stream))
  for (const [index, stream] of streams.entries()) {
    stream.write = (chunk: string | Uint8Array): boolean => {
      const text = String(chunk)
      if (text.startsWith('{"level":')) texts.push(text)
      else prints[index]!(text)
      return true
    }
  }
  return {
    /** Every line so far. */
    lines: (): LogLine[] => texts.map((text) => JSON.parse(text) as LogLine),
    /** Those of the given texts that are in a line. Digits are part of many a number: they count as a word of their own. */
    found: (secrets: Iterable<string>): string[] => {
      const log = texts.join('')
      return [...secrets].filter((secret) =>
        /^\d+$/.test(secret)
          ? new RegExp(`(?<!\\w)${secret}(?!\\w)`).test(log)
          : log.includes(JSON.stringify(secret).slice(1, -1)),
      )
    },
    stop: () => streams.forEach((stream, index) => (stream.write = prints[index]!)),
  }
}
