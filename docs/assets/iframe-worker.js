// Search runs in a worker, which browsers refuse to pages that are opened from a folder (file://).
// There a hidden frame does its work: the same script, with the worker's two ways of speaking.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.inside = frame.contentWindow
      this.inside.postMessage = (data) => this.tell(this, data)
      this.inside.importScripts = (...urls) => Promise.all(urls.map((one) => this.load(one)))
      this.loaded = this.load(url)
      this.frame = frame
    }
    load(url) {
      return new Promise((resolve, reject) => {
        const script = this.inside.document.createElement("script")
        script.src = String(url)
        script.onload = resolve
        script.onerror = reject
        this.inside.document.body.appendChild(script)
      })
    }
    tell(where, data) {
      const copy = structuredClone(data)
      setTimeout(() => { // a copy, and later: as a worker's messages come
        const event = new MessageEvent("message", { data: copy })
        where.dispatchEvent(event)
        if (where === this && this.onmessage) this.onmessage(event)
      })
    }
    postMessage(data) {
      this.loaded.then(() => this.tell(this.inside, data))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
