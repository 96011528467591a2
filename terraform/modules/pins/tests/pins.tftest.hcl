variables {
  flavour = "kind"
}

run "every_chart_has_the_version_of_its_pin" {
  command = plan

  assert {
    condition     = output.releases["cert-manager"].version == "v${output.pins.CERT_MANAGER_VERSION}"
    error_message = "cert-manager is not of the version in versions.env."
  }

  assert {
    condition     = alltrue([for release in values(output.releases) : release.version != null || release.repository == null])
    error_message = "A chart from a repository has no version."
  }
}

run "a_digest_is_read_whole" {
  command = plan

  assert {
    condition     = can(regex("^kindest/node:v1[.][0-9]+[.][0-9]+@sha256:[0-9a-f]{64}$", output.node_image))
    error_message = "The node image has no digest."
  }
}

run "kind_s_gateway_has_a_port_of_the_node" {
  command = plan

  assert {
    condition     = yamldecode(reverse(output.releases["gateway"].values)[0]).service.nodePort == 30080
    error_message = "The gateway's settings for kind come last, or are missing."
  }
}

run "a_cloud_s_gateway_has_an_address" {
  command = plan

  variables {
    flavour = "cloud"
  }

  assert {
    condition     = yamldecode(reverse(output.releases["gateway"].values)[0]).service.type == "LoadBalancer"
    error_message = "The gateway has no address outside of the cluster."
  }
}
