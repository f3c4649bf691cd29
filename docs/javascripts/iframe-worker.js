// Browsers refuse workers to pages opened from disk.  There the search runs in a hidden frame instead, so that the
// site needs no server.  The theme would otherwise fetch such a script from the network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      const answer = (data) => {
        const event = new MessageEvent("message", { data: structuredClone(data) });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inner.postMessage = (data) => setTimeout(answer, 0, data);
      inner.importScripts = () => {};
      const script = inner.document.createElement("script");
      script.src = new URL(url, location.href);
      script.addEventListener("load", () => {
        this.inner = inner;
        for (const data of this.waiting.splice(0)) this.postMessage(data);
      });
      script.addEventListener("error", () => this.onerror?.(new ErrorEvent("error")));
      inner.document.body.append(script);
      this.frame = frame;
    }

    postMessage(data) {
      if (!this.inner) this.waiting.push(data);
      else this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data: this.inner.structuredClone(data) }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
