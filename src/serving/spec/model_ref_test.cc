#include "serving/spec/model_ref.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "serving/spec/catalog.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, const std::string& text) {
  put<uint64_t>(out, text.size());
  out += text;
}

// A small but complete GGUF file: one key of each kind, one tensor of 64 bytes.
std::string small_gguf() {
  std::string out = "GGUF";
  put<uint32_t>(out, 3);
  put<uint64_t>(out, 1);
  put<uint64_t>(out, 3);
  put_text(out, "general.architecture");
  put<uint32_t>(out, 8);
  put_text(out, "llama");
  put_text(out, "general.alignment");
  put<uint32_t>(out, 4);
  put<uint32_t>(out, 64);
  put_text(out, "tokens");
  put<uint32_t>(out, 9);
  put<uint32_t>(out, 8);
  put<uint64_t>(out, 2);
  put_text(out, "a");
  put_text(out, "b");
  put_text(out, "weights");
  put<uint32_t>(out, 1);
  put<uint64_t>(out, 16);
  put<uint32_t>(out, 0);
  put<uint64_t>(out, 0);
  out.resize((out.size() + 63) / 64 * 64);
  return out + std::string(64, 'w');
}

Status check(const std::string& bytes) {
  return check_gguf_head(bytes, bytes.size(), "m.gguf");
}

TEST(Gguf, AcceptsAWholeFile) {
  const Status ok = check(small_gguf());
  EXPECT_TRUE(ok) << to_string(ok.error());
}

TEST(Gguf, RefusesEveryCutOfIt) {
  const std::string whole = small_gguf();
  for (size_t length = 0; length < whole.size(); ++length) {
    const Status cut = check(whole.substr(0, length));
    ASSERT_FALSE(cut) << length;
    EXPECT_EQ(cut.error().reason, Reason::ModelCorrupt);
  }
}

TEST(Gguf, SaysWhatIsWrong) {
  std::string bytes = small_gguf();
  bytes[0] = 'X';
  EXPECT_THAT(check(bytes).error().message, HasSubstr("does not begin with GGUF"));
  bytes = small_gguf();
  bytes[4] = 9;
  EXPECT_THAT(check(bytes).error().message, HasSubstr("version 9"));
  bytes = small_gguf();
  std::memset(bytes.data() + 8, 0xff, 8);
  EXPECT_THAT(check(bytes).error().message, HasSubstr("tensors"));
  bytes = small_gguf();
  std::memset(bytes.data() + 24, 0xff, 8);  // the first key's length
  EXPECT_THAT(check(bytes).error().message, HasSubstr("metadata"));
}

class ModelRefTest : public testing::Test {
 protected:
  ModelRefTest() {
    std::string pattern = (fs::temp_directory_path() / "tw-model-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    write("env/lib/python3.11/site-packages/tiny_model/tiny.gguf", small_gguf());
    write("env/bin/python3", "");
    fs::permissions(root_ / "env/bin/python3", fs::perms::owner_all);
    write("engine/models.yaml", R"(apiVersion: tweendeck/v1
kind: Models
models:
  tiny: {format: gguf, python_package: tiny_model, glob: "*.gguf", install: tiny-model==1}
  gone: {format: gguf, python_package: gone_model, glob: "*.gguf", install: gone-model==1}
)");
    write("engine/demo/engine.yaml", R"(apiVersion: tweendeck/v1
kind: Engine
name: demo
requires: {python: [tiny_model]}
models: {formats: [gguf]}
devices: [cpu]
command: ["{engine}/run"]
)");
    write("engine/fake/engine.yaml", R"(apiVersion: tweendeck/v1
kind: Engine
name: fake
requires: {programs: [no-such-program], hint: "build it"}
models: {formats: [directory], names: [fake-1b]}
devices: [soft]
command: ["{engine}/run"]
)");
    write("engine/broken/engine.yaml", "kind: nothing");
    auto catalog = EngineCatalog::load(root_ / "engine", root_ / "env/bin/python3", "");
    EXPECT_TRUE(catalog) << to_string(catalog.error());
    catalog_ = std::move(*catalog);
  }
  ~ModelRefTest() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path, std::ios::binary) << text;
  }
  Error error_of(const std::string& reference) const {
    const auto model = resolve_model(reference, catalog_.models());
    EXPECT_FALSE(model) << reference;
    return model ? Error{} : model.error();
  }

  fs::path root_;
  EngineCatalog catalog_;
};

TEST_F(ModelRefTest, FindsAliasFileDirectoryAndName) {
  const auto alias = resolve_model("tiny", catalog_.models());
  ASSERT_TRUE(alias) << to_string(alias.error());
  EXPECT_EQ(alias->name, "tiny");
  EXPECT_EQ(alias->format, "gguf");
  EXPECT_THAT(alias->path, HasSubstr("site-packages/tiny_model/tiny.gguf"));
  write("models/some-7b.gguf", small_gguf());
  EXPECT_EQ(resolve_model((root_ / "models/some-7b.gguf").string(), catalog_.models())->name, "some-7b");
  write("models/dir/config.json", "{}");
  EXPECT_EQ(resolve_model((root_ / "models/dir").string(), catalog_.models())->format, "directory");
  EXPECT_EQ(resolve_model("fake-1b", catalog_.models())->format, "name");
}

TEST_F(ModelRefTest, SaysWhyNot) {
  EXPECT_EQ(error_of("tinny").hint, "did you mean 'tiny'?");
  EXPECT_THAT(error_of("gone").hint, HasSubstr("gone-model==1"));
  EXPECT_EQ(error_of("./nothing.gguf").reason, Reason::ModelNotFound);
  EXPECT_EQ(error_of("").reason, Reason::ModelNotFound);
  EXPECT_EQ(error_of("/dev/null").reason, Reason::ModelNotFound);
  write("models/bad.gguf", "not a model at all, only text of some length");
  EXPECT_EQ(error_of((root_ / "models/bad.gguf").string()).reason, Reason::ModelCorrupt);
  fs::create_directories(root_ / "models/empty");
  EXPECT_EQ(error_of((root_ / "models/empty").string()).reason, Reason::ModelCorrupt);
}

TEST_F(ModelRefTest, ChoosesTheEngine) {
  Device cpu;
  cpu.id = "cpu0";
  cpu.provider = "cpu";
  const std::vector<Device> devices{cpu};
  const ModelRef tiny = *resolve_model("tiny", catalog_.models());
  DeploymentSpec spec;
  EXPECT_EQ((*catalog_.choose(spec, tiny, devices))->name, "demo");
  spec.adapters = {"sql"};
  EXPECT_EQ(catalog_.choose(spec, tiny, devices).error().message, "engine demo takes no adapters");
  spec.engine = "demo";
  EXPECT_EQ(catalog_.choose(spec, tiny, devices).error().reason, Reason::EngineCannotServe);
  spec.adapters.clear();
  spec.engine = "fake";
  EXPECT_EQ(catalog_.choose(spec, tiny, devices).error().reason, Reason::EngineCannotServe);
  spec.engine = "dmeo";
  EXPECT_EQ(catalog_.choose(spec, tiny, devices).error().hint, "did you mean 'demo'?");
  spec.engine = "broken";
  EXPECT_EQ(catalog_.choose(spec, tiny, devices).error().reason, Reason::EngineInvalid);
  spec.engine = "";
  const ModelRef fake = *resolve_model("fake-1b", catalog_.models());
  EXPECT_THAT(catalog_.choose(spec, fake, devices).error().hint, HasSubstr("--soft-gpus"));
  Device soft = cpu;
  soft.id = "soft0";
  soft.provider = "soft";
  const auto missing = catalog_.choose(spec, fake, {cpu, soft});
  EXPECT_EQ(missing.error().reason, Reason::EngineNotInstalled);
  EXPECT_THAT(missing.error().message, HasSubstr("no-such-program"));
  EXPECT_EQ(missing.error().hint, "build it");
  EXPECT_EQ(catalog_.broken().size(), 1u);
}

TEST(ModelAliases, AreStrict) {
  const std::string head = "apiVersion: tweendeck/v1\nkind: Models\nmodels:\n";
  EXPECT_TRUE(parse_aliases(head + "  a: {format: gguf, python_package: p, glob: g}", "f"));
  EXPECT_FALSE(parse_aliases(head + "  a: {format: gguf, python_package: p}", "f"));
  EXPECT_FALSE(parse_aliases(head + "  a: {format: gguf, python_package: ../p, glob: g}", "f"));
  EXPECT_FALSE(parse_aliases(head + "  a: {format: gguf, python_package: p, glob: g, x: y}", "f"));
  EXPECT_FALSE(parse_aliases("models: {}", "f"));
}

}  // namespace
}  // namespace tweendeck::serving
