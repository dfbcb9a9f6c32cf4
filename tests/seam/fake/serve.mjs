// The stand-in would listen on every interface, on a port chosen beforehand. Here it gets the loopback and whatever
// port is free, and says which.
import { Server } from "node:net"

const listen = Server.prototype.listen
Server.prototype.listen = function (_port, ready) {
  return listen.call(this, 0, "127.0.0.1", () => {
    console.log(`port ${this.address().port}`)
    ready()
  })
}

const { createFake } = await import("@seamapi/fake-seam-connect")
const fake = await createFake()
await fake.seed()
await fake.startServer({ port: 1 })
