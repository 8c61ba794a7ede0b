// What is generated is up to date; the package has what it needs, and the README's examples run with it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { system } from "./shared.js";
import { PACKAGE, PICTURES, ROOT } from "./system.js";

const run = promisify(execFile);
const read = (...path: string[]) => readFile(join(...path), "utf8");

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "spotter-client-typescript-"));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

test("generating again changes nothing", async (t) => {
  const target = await folder(t);
  await run("node", ["scripts/generate.mjs", target]);
  const names = await readdir(target);
  assert.deepEqual(names.sort(), ["advice.ts", "openapi.ts"]);
  for (const name of names) {
    const isSame = (await read(target, name)) === (await read(PACKAGE, "src", name));
    assert.ok(isSame, `src/${name} is out of date: make typescript-types`);
  }
});

test("version and licences are those of the project", async () => {
  const document = JSON.parse(await read(ROOT, "openapi.json"));
  const { version, dependencies } = JSON.parse(await read(PACKAGE, "package.json"));
  assert.equal(version, document.info.version);
  assert.equal(dependencies, undefined);
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) assert.equal(await read(PACKAGE, name), await read(ROOT, name));
});

test("the package is small, and its README's examples run with it", async (t) => {
  const target = await folder(t);
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", target]);
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("[\n")));
  const files: string[] = packed.files.map(({ path }: { path: string }) => path);
  const others = files.filter((path) => !/^dist\/[\w-]+(\.d\.ts|\.js)$/.test(path)).sort();
  assert.deepEqual(others, ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json"]);
  assert.ok(packed.size < 64 << 10, `${packed.size} bytes`);

  const installed = join(target, "node_modules/spotter-detection");
  await mkdir(installed, { recursive: true });
  await run("tar", ["-xzf", join(target, packed.filename), "-C", installed, "--strip-components", "1"]);
  for (const name of ["bus.jpg", "zidane.jpg"]) await symlink(join(PICTURES, name), join(target, name));

  const readme = await read(PACKAGE, "README.md");
  const examples = [...readme.matchAll(/^```ts\n(.+?)^```$/gms)].map(([, code]) => code);
  assert.equal(examples.length, 6);
  const printed = await executed(target, examples.join("\n"));
  assert.match(printed, /^person 0\.\d+ \d+/m);
  assert.match(printed, /^succeeded SUCCESS$/m);
  assert.match(printed, /^image\/jpeg true$/m);
  assert.match(printed, /^bus\.jpg [1-9]\d*\nzidane\.jpg [1-9]\d*$/m);
  assert.match(printed, /^finished 2\nbus\.jpg SUCCESS\nzidane\.jpg SUCCESS\nSUCCESS$/m);
  assert.match(printed, /^400 invalid-parameter .+ correct the request$/m);
});

test("the example of the project's README runs", async (t) => {
  await run("npm", ["run", "build"]);
  const [, code = ""] = /^```ts\n(.+?)^```$/ms.exec(await read(ROOT, "README.md")) ?? [];
  const target = await folder(t);
  await mkdir(join(target, "node_modules"));
  await symlink(PACKAGE, join(target, "node_modules/spotter-detection"));
  await symlink(PICTURES, join(target, "test_images"));
  assert.match(await executed(target, code), /bus/);
});

/** What an example prints, whose types are checked as well. */
async function executed(target: string, code: string): Promise<string> {
  const { url, keyed } = system;
  const text = code.replaceAll("http://127.0.0.1:5000", url).replaceAll("https://spotter.example.com", keyed.url);
  await writeFile(join(target, "example.mts"), text.replaceAll("API_KEY", keyed.apiKey));
  const modules = join(PACKAGE, "node_modules");
  const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--typeRoots", join(modules, "@types")];
  const compiler = join(modules, "typescript/bin/tsc");
  await run("node", [compiler, ...options, "--types", "node", "example.mts"], { cwd: target }).catch(({ stdout }) =>
    assert.fail(stdout),
  );
  const { stdout } = await run("node", ["example.mjs"], { cwd: target });
  return stdout;
}
