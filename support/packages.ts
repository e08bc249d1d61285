/**
 * The deployment packages of a copy of this project, unpacked as Lambda would unpack them.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { unzipSync } from 'fflate'
import { newSettings } from './newSettings.ts'
import { copyProject, sls } from './project.ts'

/** What is read of a CloudFormation template. */
export interface Template {
  Resources: Record<string, { Type: string; DependsOn: string[]; Properties: Record<string, unknown> }>
}

/** A function's properties in the template. */
interface FunctionProperties {
  Handler: string
  Runtime: string
  Architectures: string[]
  Environment: { Variables: Record<string, string | object> }
}

export interface Packages {
  /** Where a function is unpacked. */
  folderOf: (name: string) => string
  propertiesOf: (name: string) => FunctionProperties
  /** The environment of a function, with what CloudFormation would put in. */
  environmentOf: (name: string) => Record<string, string>
  template: Template
  /** Where they were made. */
  folder: string
  output: string
  /** Removes what was unpacked, and the folder where packageFunctions has made it. */
  remove: () => void
}

/**
 * Runs `sls package` and unpacks the result, far from node_modules: what the bundles leave out must not be
 * found, as on Lambda.
 * @param extra functions to package beside those of serverless.yml, with the same options: name and source
 * @param change changes the copy before it is packaged
 * @returns the folders of the unpacked functions, and the template that would be deployed
 */
export async function packageFunctions(
  settings: NodeJS.ProcessEnv = newSettings(),
  extra: Record<string, string> = {},
  change: (folder: string) => void = () => undefined,
): Promise<Packages> {
  const { folder, remove } = copyProject()
  try {
    const yaml = join(folder, 'serverless.yml')
    const more = Object.keys(extra).map((name) => `  ${name}:\n    handler: ${name}.handler\n`)
    writeFileSync(yaml, readFileSync(yaml, 'utf8').replace(/^functions:\n/m, `$&${more.join('')}`))
    for (const [name, source] of Object.entries(extra)) writeFileSync(join(folder, `${name}.ts`), source)
    change(folder)

    const packages = openPackages(folder, await packageIn(folder, settings))
    return {
      ...packages,
      remove: () => {
        packages.remove()
        remove()
      },
    }
  } catch (error) {
    remove()
    throw error
  }
}

/**
 * Runs `sls package` in a folder of the project.
 * @returns what it has printed
 * @throws Error with that when it fails
 */
export async function packageIn(folder: string, settings: NodeJS.ProcessEnv): Promise<string> {
  const run = sls(folder, ['package'], settings)
  if ((await run.exit) !== 0) throw new Error(`sls package failed:\n${run.output()}`)
  return run.output()
}

/**
 * Opens what `sls package` has made.
 * @param folder of the project
 * @param output what it has printed
 */
export function openPackages(folder: string, output: string): Packages {
  const built = join(folder, '.serverless')
  const target = mkdtempSync(join(tmpdir(), 'auth-package-'))
  const template = JSON.parse(
    readFileSync(join(built, 'cloudformation-template-update-stack.json'), 'utf8'),
  ) as Template
  const unpacked = new Set<string>()
  const propertiesOf = (name: string) =>
    template.Resources[`${name[0]!.toUpperCase()}${name.slice(1)}LambdaFunction`]!
      .Properties as unknown as FunctionProperties
  return {
    folder,
    output,
    template,
    propertiesOf,
    environmentOf: (name) =>
      Object.fromEntries(
        Object.entries(propertiesOf(name).Environment.Variables).map(([key, value]) => [
          key,
          typeof value === 'string' ? value : inserted(value),
        ]),
      ),
    folderOf: (name) => {
      const folder = join(target, name)
      if (!unpacked.has(name)) unpack(join(built, `${name}.zip`), folder)
      unpacked.add(name)
      return folder
    },
    remove: () => rmSync(target, { recursive: true, force: true }),
  }
}

/** Unpacks a zip into a folder. */
export function unpack(zip: string, folder: string): void {
  for (const [path, bytes] of Object.entries(unzipSync(readFileSync(zip)))) {
    const file = join(folder, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, bytes)
  }
}

/** What CloudFormation would put in. */
const inserted = (value: object) => {
  const known: Record<string, string> = {
    ApiGatewayRestApi: 'abcdef1234',
    'AWS::Region': 'eu-central-1',
    'AWS::URLSuffix': 'amazonaws.com',
  }
  const template = (value as Record<string, string>)['Fn::Sub'] ?? '${ApiGatewayRestApi}'
  return template.replaceAll(/\$\{([^}]+)\}/g, (_, name: string) => known[name]!)
}

/** The files that are loaded before the first call: the handler's, and those that it imports statically. */
export function startUpFiles(folder: string, handler: string): string[] {
  const loaded = new Set([handler])
  for (const file of loaded) {
    const code = readFileSync(join(folder, file), 'utf8')
    for (const [, imported] of code.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) {
      loaded.add(join(dirname(file), imported!))
    }
  }
  return [...loaded]
}
