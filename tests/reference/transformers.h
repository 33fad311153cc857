// A model of transformers' in a file of fixtures, and how near an engine comes to it.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "strobe/io/safetensors.h"
#include "strobe/train/engine.h"

namespace strobe::reference {

class TransformersModel {
 public:
  /// What is the model's own begins with `prefix`, in a file of several models.
  explicit TransformersModel(const std::string& file, std::string prefix = "");

  std::span<const float> floats(const std::string& name) const;
  /// Of all models of the file.
  template <class Item>
  const Item* common(const std::string& name) const {
    return file_.tensor(name).as<Item>();
  }
  void load(Engine& engine) const;
  /// Expects the engine's gradients to be the file's within this relative error, and their padding
  /// 0.
  void expect_gradients(Engine& engine, double tolerance) const;

 private:
  SafetensorsFile file_;
  std::string prefix_;
};

std::vector<float> download(Engine& engine, Tensor tensor);
/// Of all parameters: values, or what else is asked for.
std::vector<float> all_values(Engine& engine, Tensor Param::*what = &Param::value);

/// The largest difference as a share of the largest value wanted; infinite where not finite.
double relative_error(std::span<const float> got, std::span<const float> want);

}  // namespace strobe::reference
