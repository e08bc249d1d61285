/**
 * The settings of this function: environment variables (serverless.yml says which it gets), read once, at the
 * cold start. A malformed one stops it with a sentence that names it.
 */
import { parseSetting, schema, type SettingName, type Settings } from './Settings.ts'

const settings: Partial<Record<SettingName, unknown>> = {}
for (const name of Object.keys(schema) as SettingName[]) {
  const text = process.env[name]
  if (text !== undefined) settings[name] = parseSetting(name, text)
}

/**
 * A setting of this function.
 * @throws Error naming the setting when serverless.yml does not give it to this function
 */
export function setting<Name extends SettingName>(name: Name): Settings[Name] {
  if (settings[name] === undefined) throw new Error(`Setting ${name} is missing.`)
  return settings[name] as Settings[Name]
}

/** Whether serverless.yml, or the laptop, gives this function a setting. */
export const hasSetting = (name: SettingName): boolean => settings[name] !== undefined
