// Sends by npm node-gcm. Arguments: the URL, the key, the message and the recipients as JSON.
const gcm = require("node-gcm");
const [uri, key, message, recipients] = process.argv.slice(2);
const sender = new gcm.Sender(key, { uri });
const options = { retries: 0 };
sender.send(new gcm.Message(JSON.parse(message)), JSON.parse(recipients), options, (error, body) =>
  console.log(JSON.stringify({ error: error === null ? null : String(error), body: body || null })),
);
