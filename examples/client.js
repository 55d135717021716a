// Ask a served model from Node.js: npm install @grpc/grpc-js @grpc/proto-loader
// node client.js localhost:8500 reviews text "Loved it!"      (PROTOS: the folder tfllm/wire of the package)
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, model, input, ...texts] = process.argv.slice(2);
const definition = loader.loadSync("tf_serving.proto", { includeDirs: [process.env.PROTOS], keepCase: true });
const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
const client = new PredictionService(address, grpc.credentials.createInsecure());
const request = {
  model_spec: { name: model },
  inputs: {
    [input]: {
      dtype: "DT_STRING",
      tensor_shape: { dim: [{ size: texts.length }] },
      string_val: texts.map((text) => Buffer.from(text)),
    },
  },
};
client.Predict(request, { deadline: Date.now() + 10000 }, (error, response) => {
  if (error) {
    console.error(`${error.code}: ${error.details}`);
    process.exit(1);
  }
  const { label, score } = response.outputs;
  label.string_val.forEach((text, row) => console.log(`${text.toString()} ${score.float_val[row].toFixed(4)}`));
  client.close();
});
