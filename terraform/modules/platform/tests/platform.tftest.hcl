mock_provider "helm" {}

variables {
  flavour        = "cloud"
  image_registry = "registry.example/you"
}

run "charts_are_of_the_pinned_versions" {
  command = plan

  assert {
    condition     = helm_release.kserve.version == "v${module.pins.pins.KSERVE_VERSION}"
    error_message = "KServe is not of the version in versions.env."
  }
}

run "perch_s_images_come_from_the_registry" {
  command = plan

  assert {
    condition     = yamldecode(helm_release.perch.values[0]).global.imageRegistry == "registry.example/you"
    error_message = "The chart was not told of the registry."
  }
}

run "a_flavour_that_nobody_knows_is_refused" {
  command = plan

  variables {
    flavour = "moon"
  }

  expect_failures = [var.flavour]
}
