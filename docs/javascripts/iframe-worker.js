// Browsers start no worker for a page that was opened from disk. There a hidden frame runs the worker's script instead,
// so that search works without a server. A page that a server sends keeps the browser's own workers.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.scope = frame.contentWindow;
      this.scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = this.scope.document.createElement("script");
      script.src = url;
      script.addEventListener("load", () => {
        this.waiting.forEach((data) => this.deliver(data));
        this.waiting = null;
      });
      this.scope.document.body.append(script);
    }

    postMessage(data) {
      this.waiting === null ? this.deliver(data) : this.waiting.push(data);
    }

    deliver(data) {
      this.scope.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
