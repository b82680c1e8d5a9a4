// Starts `kcluster lsp` and hands it to VS Code's client; everything that it shows comes from there.
const { commands, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function start() {
  const [command, ...args] = workspace.getConfiguration("kcluster").get("command");
  client = new LanguageClient(
    "kcluster",
    { command, args },
    {
      documentSelector: [{ language: "kcluster" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/{*.kcluster,kcluster.toml,pyproject.toml}") },
    },
  );
  return client.start();
}

async function restart() {
  await client?.stop();
  await start();
}

exports.activate = async (context) => {
  context.subscriptions.push(
    commands.registerCommand("kcluster.restart", restart),
    workspace.onDidChangeConfiguration((event) => event.affectsConfiguration("kcluster.command") && restart()),
  );
  await start();
};

exports.deactivate = () => client?.stop();
