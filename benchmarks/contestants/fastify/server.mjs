// The receiver as a Node team would write it: Fastify, svix, one insert per event. It merges and marks nothing.
import Fastify from "fastify";
import pg from "pg";
import { Webhook } from "svix";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
await pool.query("CREATE TABLE IF NOT EXISTS events (event_id text PRIMARY KEY, payload text)");

const webhook = new Webhook(process.env.SEAM_WEBHOOK_SECRET);
const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));

app.post("/webhooks/seam", async (request, reply) => {
  let event;
  try {
    event = webhook.verify(request.body, request.headers);
  } catch {
    return reply.code(401).send();
  }
  await pool.query({
    name: "keep",
    text: "INSERT INTO events (event_id, payload) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    values: [event.event_id, request.body],
  });
  return reply.code(204).send();
});

await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
